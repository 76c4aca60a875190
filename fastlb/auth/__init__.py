"""Who a request is from: passwords and tokens, verified off the loop. Knows nothing of connections."""
