"""Benchmarks of poolhttp beside other servers: `python -m bench`. See bench/README.md."""
