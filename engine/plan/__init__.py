"""From a topology and partition counts to sub-topologies, tasks and internal topics. Pure."""
