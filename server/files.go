package server

import "log/slog"

// storeFiles is how many files the store and the process itself may have open.
const storeFiles = 384

// connections is how many connections are taken at most: as configured, and no
// more than leave the store its files. A store that cannot open its tables
// cannot deliver.
func connections(wanted int, log *slog.Logger) int {
	n, known := openFiles()
	if wanted <= 0 {
		wanted = 20_000
	}
	room := max(n-storeFiles, n/4)
	if !known || room >= wanted {
		return wanted
	}
	if room < 5000 {
		log.Warn("the limit of open files (ulimit -n) lowers the number of connections", "open_files", n, "connections", room)
	}
	return room
}
