"""From the MLIR of a GPU kernel to text of the Metal Shading Language."""
