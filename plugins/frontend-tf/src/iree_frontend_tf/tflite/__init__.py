"""The importer of TFLite FlatBuffers: file, values, table of operators, translation."""
