"""Other gateways, measured beside ours on the same upstream: each installed into a folder of its own."""
