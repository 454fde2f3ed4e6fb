# What a submission's container runs: init as PID 1.
ARG BASE
FROM ${BASE}
COPY source/ /opt/sandstream/
# -s -S skip what Python reads at start and init does not use; unchecked .pyc save the stat calls.
RUN python3 -P -s -S -m compileall -q --invalidation-mode unchecked-hash /opt/sandstream
ENV PYTHONPATH=/opt/sandstream
ENTRYPOINT ["/usr/bin/python3", "-P", "-s", "-S", "-m", "init"]
