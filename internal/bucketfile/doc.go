// Package bucketfile keeps a [parley.Bucket] in one file: protocol state of
// programs that have no database, such as the live commands for topics.
//
// Each commit is one record appended to the file and on disk before Update
// returns; a record that a crash cut short never happened. Several processes may
// use the same file: each commit is made under a lock, after what the others
// have written was read. The file is rewritten when most of it is out of date.
//
// It holds private keys: mode 0600, and one that others may read is refused.
//
// # Format
//
// The line "parley state 1\n", then records: length of the body (4 bytes, big
// endian), the first 8 bytes of SHA-256 over the file's random name, the record's
// number and the body, and the body. The first record's body is the random name,
// 16 bytes, and its sum covers no name. The others' bodies are entries: 1 byte (1 put, 2 delete), length
// of the key (4 bytes), key, and for put length of the value (4 bytes) and value.
package bucketfile
