import {
  localhostExecutor,
  dockerExecutor,
  runtimes,
  type ConfigFile,
  type ExecutorSettings,
} from '@errand/shared'

/** An executor that the operator configured, or one of those that are there when nothing is configured. */
export interface ConfiguredExecutor {
  name: string
  source: 'config' | 'default'
  /** With secrets. */
  settings: ExecutorSettings
}

/** Without a `code_executors` section there is one Python of this host and one in a container. */
export function configuredExecutors({ code_executors: sections }: ConfigFile): ConfiguredExecutor[] {
  if (sections === undefined) return defaultExecutors
  const all = <Settings>(section: Record<string, Settings>, type: (one: Settings) => ExecutorSettings) =>
    Object.entries(section).map(([name, one]) => ({ name, source: 'config' as const, settings: type(one) }))
  return [
    ...all(sections.docker, (one) => ({ executor_type: 'docker', ...one })),
    ...all(sections.ssh, (one) => ({ executor_type: 'ssh', ...one })),
    ...all(sections.local, (one) => ({ executor_type: 'localhost', ...one })),
  ]
}

const defaultExecutors: ConfiguredExecutor[] = [
  {
    name: 'local_python_default',
    source: 'default',
    settings: { executor_type: 'localhost', ...localhostExecutor.parse({}) },
  },
  {
    name: 'docker_python_default',
    source: 'default',
    settings: { executor_type: 'docker', ...dockerExecutor.parse({ image: runtimes.python.image }) },
  },
]
