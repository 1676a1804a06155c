"""Networks: arrays in, arrays out. Encoders turn observations into inputs, and models answer q, v and act."""
