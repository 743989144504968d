"""scatter_gather"""
