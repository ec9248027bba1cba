"""The reader for people and other software: HTTP, page, and the records of what was answered."""
