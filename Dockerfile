# One file for three builds: the Supervisor's local one, the release workflow's, and a bare `docker build .`.
ARG BUILD_FROM=ghcr.io/home-assistant/base-debian:trixie-2026.08.0
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-trixie

# What the dependencies are: every Cargo.toml, and stand-ins for our own sources. A layer of it stays until one of these files changes.
# hadolint ignore=DL3006
FROM ${RUST_IMAGE} AS manifests
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY crates ./crates
COPY benches/Cargo.toml ./benches/
COPY xtask/Cargo.toml ./xtask/
RUN find crates -mindepth 2 -maxdepth 2 ! -name Cargo.toml -exec rm -rf {} + \
    && for folder in . crates/* xtask; do mkdir "$folder/src" && echo "//! A stand-in." >"$folder/src/lib.rs"; done \
    && mkdir benches/pairs && echo "//! A stand-in." >benches/pairs/mod.rs \
    && for file in src/main.rs benches/main.rs; do echo 'fn main() {}' >"$file"; done

# hadolint ignore=DL3006
FROM ${RUST_IMAGE} AS builder
WORKDIR /build
# Never more than two compilers at once: the peak stays below what a small machine has (DOCS.md#install-and-first-start).
ENV CARGO_BUILD_JOBS=2
# For the allocator, which is written in C.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
# The dependencies are a layer of their own: they change rarely. The stand-ins must not be taken for our crates afterwards.
COPY patches ./patches
COPY .cargo ./.cargo
COPY --from=manifests /build ./
RUN cargo build --release --locked && cargo clean --release --locked --workspace && rm -rf src crates
COPY Cargo.toml Cargo.lock ./
COPY crates ./crates
COPY src ./src
COPY templates ./templates
COPY assets ./assets
COPY locales ./locales
COPY translations ./translations
RUN cargo build --release --locked && cp target/release/virtual-shelly /virtual-shelly

# hadolint ignore=DL3006
FROM ${BUILD_FROM}
ARG BUILD_VERSION=dev
ARG BUILD_ARCH=amd64
COPY --from=builder /virtual-shelly /usr/bin/virtual-shelly
COPY addon/rootfs /
LABEL \
    io.hass.version="${BUILD_VERSION}" \
    io.hass.type="app" \
    io.hass.arch="${BUILD_ARCH}" \
    io.hass.name="Virtual Shelly Pro 3EM" \
    io.hass.description="Serves the grid power that Home Assistant knows as a Shelly Pro 3EM" \
    io.hass.url="https://github.com/virtual-shelly/virtual-shelly" \
    org.opencontainers.image.title="Virtual Shelly Pro 3EM" \
    org.opencontainers.image.description="Serves the grid power that Home Assistant knows as a Shelly Pro 3EM" \
    org.opencontainers.image.source="https://github.com/virtual-shelly/virtual-shelly" \
    org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
    org.opencontainers.image.version="${BUILD_VERSION}"
# Alive is: process, writer thread and listener tasks respond. An absent Home Assistant or a taken port is cured by no restart.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["/usr/bin/virtual-shelly", "health"]
# The Supervisor starts it under Docker's init (`init: true` is its default); s6 of the base image is not used.
ENTRYPOINT ["/usr/bin/virtual-shelly"]
