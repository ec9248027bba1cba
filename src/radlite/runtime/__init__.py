"""Things that complete a prompt."""
