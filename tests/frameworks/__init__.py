"""The example apps behind poolhttp, driven by `requests` through both ways in."""
