"""gunicorn's request corpus and its signals, against poolhttp's worker as a child process."""
