FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
COPY client/package.json client/
RUN npm ci
COPY tsconfig.json tsconfig.build.json build.mjs bundle.mjs ./
COPY client client
COPY server server
RUN npm run build

# Without what is only for development, the embedded PostgreSQL among it.
FROM node:24-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
COPY client/package.json client/
RUN npm ci --omit=dev

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
# node_modules/@rowcast/client is a link to this folder.
COPY client/package.json client/
COPY --from=build /app/client/dist client/dist
COPY --from=build /app/dist dist
COPY package.json ./
COPY sql sql
USER node
EXPOSE 4400
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.ROWCAST_PORT || 4400) + '/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/server/main.js"]
CMD ["up", "--no-demo"]
