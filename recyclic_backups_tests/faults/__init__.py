"""Nothing is lost, whatever happens: real processes, real signals, real servers, real file systems."""
