"""Tables, plots and the page: reads results, computes nothing new."""
