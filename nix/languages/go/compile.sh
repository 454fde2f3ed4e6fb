# Without cgo no C compiler is needed, and the binary stands alone.
export CGO_ENABLED=0
exec go build -o main main.go
