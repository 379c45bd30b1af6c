"""Planning: sub-topologies, tasks and internal topics from a topology and its topics. Pure."""
