"""From a GPU kernel to a SPIR-V binary."""
