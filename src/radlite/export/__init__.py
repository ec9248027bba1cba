"""From adapter to one file for the CPU: merge, write as GGUF, quantise, verify."""
