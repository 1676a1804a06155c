"""Experience: demonstrations on the host, and what batches are drawn from on the device."""
