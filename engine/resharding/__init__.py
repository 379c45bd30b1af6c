"""Another number of partitions for the state of an application: `tidemill reshard`."""
