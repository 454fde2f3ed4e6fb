"""Never ends."""

print("counting to infinity ...", flush=True)
number = 0
while True:
    number += 1
