# The builder process; with another command also the store container of a worker host.
ARG BASE
FROM ${BASE}
COPY source/ /opt/sandstream/
RUN python3 -m compileall -q /opt/sandstream
ENV PYTHONPATH=/opt/sandstream:/opt/site-packages PYTHONUNBUFFERED=1
WORKDIR /opt/sandstream
CMD ["/usr/bin/python3", "-P", "-m", "builder"]
