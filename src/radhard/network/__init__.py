"""Networks as workloads: capture, quantisation, data sets, small models."""
