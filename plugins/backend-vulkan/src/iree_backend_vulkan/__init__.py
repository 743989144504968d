"""The GPU plugin for Vulkan: SPIR-V code generation and a HAL driver on the system's loader."""
