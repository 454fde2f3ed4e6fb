# The NATS server of the wheel: one static file.
FROM scratch
COPY nats-server /nats-server
ENTRYPOINT ["/nats-server"]
