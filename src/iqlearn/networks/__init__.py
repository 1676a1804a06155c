"""Networks: arrays in, arrays out. Encoders turn observations into inputs; models have the methods q, v and act."""
