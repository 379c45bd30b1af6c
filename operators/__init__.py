"""The semantics of stream programs: records, serdes, topologies and operators, without I/O."""
