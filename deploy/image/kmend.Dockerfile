# The responder: one static program, with the time zones and certification
# authorities that it needs in it. There is no base, so there is none to pin.
# What it is built from is dist/, which `make release` makes.
FROM scratch
ARG TARGETARCH
ARG VERSION=devel
LABEL org.opencontainers.image.title="kmend" \
      org.opencontainers.image.description="Receives alerts, asks the kernel why, and heals what the kernel confirms" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only" \
      org.opencontainers.image.version="${VERSION}"
COPY linux/${TARGETARCH}/kmend linux/${TARGETARCH}/kmend.cdx.json /
# Its record is in /var/lib/kmend: a volume, mounted so that this user may write it.
USER 65532:65532
EXPOSE 9790
# For `kubectl exec ... -- kmend`: nothing else looks for it.
ENV PATH=/
ENTRYPOINT ["/kmend"]
CMD ["serve"]
