"""Reports: the records of a run as a terminal summary and as one HTML file that opens offline."""
