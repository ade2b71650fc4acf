# One file for three builds: the Supervisor's local one, the release workflow's, and a bare `docker build .`.
ARG BUILD_FROM=ghcr.io/home-assistant/base-debian:trixie
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-trixie

FROM ${RUST_IMAGE} AS builder
WORKDIR /build
# Two jobs and thin LTO in few units keep the peak below 1.2 GB (DOCS.md says what was measured).
ENV CARGO_BUILD_JOBS=2
# The dependencies in a layer of their own: they change rarely.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches templates \
    && echo 'fn main() {}' > src/main.rs && echo '' > src/lib.rs \
    && sed -i '/^\[\[bench\]\]/,/^$/d' Cargo.toml \
    && cargo build --release --locked \
    && rm -rf src target/release/virtual-shelly target/release/.fingerprint/virtual-shelly-* target/release/deps/virtual_shelly-* target/release/deps/libvirtual_shelly-*
COPY src ./src
COPY templates ./templates
COPY assets ./assets
COPY locales ./locales
RUN cargo build --release --locked && cp target/release/virtual-shelly /virtual-shelly

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
    io.hass.description="Serves Home Assistant's grid power as a Shelly Pro 3EM" \
    org.opencontainers.image.title="Virtual Shelly Pro 3EM" \
    org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
    org.opencontainers.image.version="${BUILD_VERSION}"
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["/usr/bin/virtual-shelly", "health"]
ENTRYPOINT ["/usr/bin/virtual-shelly"]
