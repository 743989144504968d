"""sort_select"""
