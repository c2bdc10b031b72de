package server

import "log/slog"

// storeFiles is how many files the stores and the process itself may have open.
const storeFiles = 544

// connections is how many connections are taken at most: as configured, and no
// more than leave the store its files. A store that cannot open its tables
// cannot deliver. Fronts is how many share them.
func connections(wanted, fronts int, log *slog.Logger) int {
	n, known := openFiles()
	room := max(n-storeFiles, n/4) / fronts
	if !known || room >= wanted {
		return wanted
	}
	if room < 5000 {
		log.Warn("the limit of open files (ulimit -n) lowers the number of connections", "open_files", n, "connections", room)
	}
	return room
}
