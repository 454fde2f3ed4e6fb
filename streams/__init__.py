"""The words between the processes: events, their fold, and the one place where NATS is spoken.

Services import this package and never each other. Pure modules (`events`, `fold`, `request`,
`results`, `limits`, `environments`) know nothing of NATS; the others do the talking.
"""
