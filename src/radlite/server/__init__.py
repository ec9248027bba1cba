"""The same reader over HTTP: for people in a browser, and for other software."""
