# smg-exporter, for docs/deploy.md: docker build --build-arg VERSION=0.1.0 --tag smg-exporter:0.1.0 .
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
# What it needs, exactly as locked; a layer of its own, which changes only with the lock.
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/smg-exporter \
    && pip --python /opt/smg-exporter/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
# What builds it, locked too; only its wheel goes on.
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter ./exporter
RUN pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir dist . \
    && pip --python /opt/smg-exporter/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl

FROM python:${PYTHON}
# Nothing is installed into a container that runs.
RUN pip uninstall --yes pip
COPY --from=build /opt/smg-exporter /opt/smg-exporter
ENV PATH=/opt/smg-exporter/bin:$PATH
USER 65532:65532
WORKDIR /
EXPOSE 18001 29010 29011
STOPSIGNAL SIGTERM
# It asks on the port that the environment says: configure the container by SMG_EXPORTER_... rather than by arguments, which a
# health check cannot see.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["smg-exporter", "healthcheck"]
ENTRYPOINT ["smg-exporter"]

ARG VERSION=dev
LABEL org.opencontainers.image.title="smg-exporter" \
      org.opencontainers.image.description="Prometheus exporter for SGLang gRPC workers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
