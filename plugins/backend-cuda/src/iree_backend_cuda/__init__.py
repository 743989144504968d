"""The GPU plugin for CUDA: PTX code generation and a HAL driver on the CUDA driver API."""
