"""What a request costs: `python -m bench` starts every part here, sends load, and prints CPU-ms a request."""
