"""Metal for iree: code generation and driver."""
