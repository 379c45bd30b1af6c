"""Random programs, drawn from a seed and run in equivalent ways; a program whose results differ is shrunk."""
