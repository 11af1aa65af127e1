"""What a slow handler, a surge and an overload do to other requests: `python -m bench.mixed`."""
