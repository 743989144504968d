"""The compiler's passes: one folder per phase, and what runs them.

``iree_core.phases`` is the table of contents; ``manager`` runs passes, ``state`` is what they
share. A pass is a frozen dataclass with a ``name`` and ``run(module, state)``.
"""
