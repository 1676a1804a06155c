"""Training: the device computes, the host acts, evaluates and reports."""
