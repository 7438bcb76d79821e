// Counts the members of a tar.gz as Go's standard library reads it: their contents are read, too.
package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"os"
)

func main() {
	file, err := os.Open(os.Args[1])
	check(err)
	unzipped, err := gzip.NewReader(file)
	check(err)
	reader := tar.NewReader(unzipped)
	members, bytes := 0, int64(0)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		check(err)
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		read, err := io.Copy(io.Discard, reader)
		check(err)
		members++
		bytes += read
	}
	fmt.Println(members, bytes)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
