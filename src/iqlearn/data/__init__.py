"""Experience: demonstrations on the host, and the sources of batches on the device."""
