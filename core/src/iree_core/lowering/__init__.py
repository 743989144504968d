"""Builders that emit linalg, tensor, arith and scf: the words operator lowerings are written in.

Shared by all frontends: ``element`` (types with signedness), ``index`` (sizes), ``tensors``
(creation and shape changes), ``structured`` (elementwise, reductions, contractions) and
``scalars`` (arithmetic inside bodies). All functions emit at the current insertion point and
location.
"""
