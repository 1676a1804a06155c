"""Training: the device computes updates; the host acts, evaluates and calls the callbacks."""
