/** Variables of a Service. Docker sets those of a port for a linked container as well, and those of its environment. */
const SERVICE_LINK =
  /^ROWCAST(_\w+)?_(ENV_\w+|SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;
const PORT_LINK = /^ROWCAST(_\w+)?_PORT$/;
const ADDRESS = /^(tcp|udp|sctp):\/\//;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The environment without the variables that Kubernetes sets in every pod for a Service whose name begins with `rowcast`, such as
 * `ROWCAST_PORT=tcp://10.96.12.7:4400`. They look like settings, and are none.
 */
export function withoutServiceLinks(env: Environment): Environment {
  const isLink = ([name, value = '']: [string, string | undefined]) =>
    SERVICE_LINK.test(name) || (PORT_LINK.test(name) && ADDRESS.test(value));
  return Object.fromEntries(Object.entries(env).filter((entry) => !isLink(entry)));
}
