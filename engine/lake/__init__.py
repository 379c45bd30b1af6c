"""Files and tables of data lakes as targets: Parquet, Iceberg, Delta."""
