"""Files in the exact shapes of the official data sets, filled by the synthesiser."""
