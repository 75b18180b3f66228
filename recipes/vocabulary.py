"""Everyday English words and sentences, written for this project: speech around a device that listens."""

from __future__ import annotations


def _split(text: str, mark: str = " ") -> list[str]:
    return [entry.strip() for entry in text.replace("\n", " ").split(mark)]


NAMES = _split(
    """Adam Alice Amir Anna Arthur Beatrice Ben Bruno Carla Charlie Claire Daniel David Deborah Dora Edith Edward Elena Emil
Emma Erin Felix Fiona Frank George Gina Grace Hannah Harry Hugo Ian Irene Isaac Jack Jane Joan Joe Joshua Judith Julia
Karen Kevin Laura Leo Lily Louis Lucy Maggie Maria Martin Mary Maya Michael Molly Nadia Nathan Nina Noah Nora Oliver
Olivia Oscar Paul Peter Philip Rachel Ralph Rebecca Richard Robert Robin Rosa Ruth Sam Samir Sarah Shirley Simon
Sophie Stephen Susan Theo Thomas Tina Tom Vera Victor Vincent Walter Wendy William Yusuf Zoe"""
)

PEOPLE = _split(
    """my mother, my father, the children, our neighbour, the doctor, a friend of mine, the teacher, her brother, his sister,
the old man next door, the girl with the dog, the driver, everyone, nobody, somebody, the people upstairs, the
plumber, your uncle, their daughter, the boss, the whole family, the baby, a nurse, the captain, the judge, two
students, the postman, my cousin, the shop assistant, the team""",
    ",",
)

THINGS = _split(
    """the kettle, a bicycle, the window, some bread, the garden chair, a glass of water, the blue jacket, her keys, the
washing machine, an umbrella, the big table, a birthday cake, the newspaper, the phone, three eggs, the remote
control, a yellow lamp, the radio, an old photograph, the camera, the ladder, a pair of shoes, the shopping list, the
television, a cheese sandwich, the vacuum cleaner, orange juice, the front door, a letter, the bill, the tickets, the
parcel, the toothbrush, a wooden spoon, the thermostat, the coffee machine, the blanket, his guitar, the puzzle, the
heavy box, a postcard, the engine, the curtains, the oven, the fridge, that joke, the recipe, the rubbish, the whole
story, a new idea, the printer, a cushion, the hammer, the map, the medicine, the yoghurt, the mushrooms, a loaf of
rye, the vegetables, the battery""",
    ",",
)

PLACES = _split(
    """in the kitchen, at the office, on the roof, behind the sofa, near the station, at school, in the bathroom, under the
bed, by the river, on the second floor, in the cupboard, at the airport, across the street, in the living room,
outside, down in the cellar, at the supermarket, in the village, on the balcony, at the beach, in the car, beside the
church, over there, at home, on the shelf, in the mountains, at the theatre, on the train, in the hallway, in the city""",
    ",",
)

TIMES = _split(
    """yesterday, this morning, at half past seven, on Thursday, last summer, every day, before lunch, after the rain, in a
quarter of an hour, all night, next January, as usual, once again, for a while, at midnight, on the weekend, in
October, twice a week, the day before, much too early, a year ago, right now, at a quarter to nine, soon, on the
fifteenth of July, in spring, when the phone rang, until it got dark""",
    ",",
)

PAST = _split(
    """found, carried, bought, cleaned, forgot, broke, painted, looked for, opened, brought, dropped, repaired, sold, washed,
borrowed, wanted, noticed, hid, moved, asked about, needed, saw, liked, threw away, talked about, ordered, paid for,
took, gave back, picked up, stole, watched, promised, described, burned, measured, shook, explained, prepared,
collected""",
    ",",
)

BASE = _split(
    """find, carry, buy, clean, forget, break, paint, open, bring, drop, repair, sell, wash, borrow, hide, move, show me,
look after, switch off, turn on, turn down, put away, describe, measure, throw out, cook, close, check, hold, push,
send, count, shut, use, follow, choose, touch, read, write about, wait for""",
    ",",
)

ADJECTIVES = _split(
    """cold, rather expensive, lovely, too loud, broken, very small, quite heavy, warm enough, dangerous, boring, fresh,
strange, dirty, ready, far away, wonderful, cheap, useful, wrong, difficult, terribly late, the same as ever, smooth,
yellow, not bad, out of order, huge, worth it, thirsty, just right""",
    ",",
)

# Short and long, with every sound of English in many neighbourhoods; none is there for a certain phrase.
SENTENCES = _split(
    """What time is it?|
How are you today?|
I don't think so.|
Could you pass me the salt, please?|
It's going to rain again this afternoon.|
Thank you very much.|
Never mind, I will do it myself.|
Where did you put the scissors?|
The bus was so crowded that we had to stand all the way.|
Let's go.|
Good morning, everybody.|
She had nothing to say about it.|
The number is four seven nine, double two, eight, oh, six, three.|
Please leave your name and address after the tone.|
You should have seen his face when the cake fell on the floor.|
We're out of milk, butter and washing powder.|
Would you rather walk or take a taxi?|
Our flight leaves from gate thirty-one at ten past five.|
Nothing much happened while you were away.|
There's a strange noise coming from the boiler.|
He usually gets up at six and goes for a run around the lake.|
Sorry, I didn't catch that.|
Is there any soup left?|
My grandmother used to grow beans, onions and strawberries.|
That was a great match, wasn't it?|
They changed the timetable without telling anyone.|
A cup of black coffee and two slices of toast, please.|
Watch out, the plate is hot!|
Do you remember the name of that actor?|
The weather forecast promises sunshine in the north and showers along the coast.|
Just a moment, I am on the phone.|
In my opinion the second half of the book is far better than the first.|
I've been waiting here for more than an hour.|
Put your shoes on, we are late already.|
The museum is closed on Mondays.|
Well, that depends on what you mean by cheap.|
Nine hundred and sixty-five divided by five is one hundred and ninety-three.|
Oh no, not again.|
Fill the pan with water, add a pinch of salt, and bring it to the boil.|
She sells fresh fish at the harbour every Friday.|
The judge asked the witness to speak up.|
Have you fed the cat?|
We could watch a film tonight, or play cards.|
If you turn left at the lights, you will see the bank on your right.|
The children were singing, shouting and jumping on the bed.|
I need a new pair of glasses.|
This is by far the thickest soup I have ever eaten.|
Yes, of course, why not?|
No, thanks, I have had enough.|
The measurement was repeated three times with a different ruler.|
Everything that could go wrong went wrong.|
He works as a nurse on the night shift.|
Stop it, both of you!|
The village lies in a deep valley between two ranges of hills.|
Shall I call you back later?|
Somebody has left the lights on upstairs.|
I would like to book a table for four at eight o'clock.|
The engine coughed twice and then went quiet.|
What a beautiful garden you have!|
Maybe we should ask at the police station.|
Her voice was so soft that nobody heard her.|
Turn the page and read the next paragraph aloud.|
The new neighbours seem to be quite nice.|
It took us ages to find a place to park.|
The vase on the piano belonged to my aunt.|
Try to breathe slowly and relax your shoulders.|
Be careful with that knife.|
When the train finally arrived, it was already full.|
My phone is almost dead, do you have a charger?|
The price of petrol has gone up again.|
They have been married for twenty-five years.|
Look at that, a rainbow!|
The teacher wrote a long word on the board and rubbed it out.|
You can't be serious.|
A young boy threw a yellow ball over the fence.|
Remind me to water the plants before we go on holiday.|
The president is expected to give a speech this evening.|
In other news, the bridge across the river will stay closed until Wednesday.|
Two tickets to the zoo, one adult and one child.|
We had thunder and lightning all night long.|
Who is going to tell him?|
It smells of fresh paint in here.|
The cheese is in the fridge, behind the yoghurt.|
I forgot my password and now I am locked out.|
Keep the change.|
He plays the violin, the flute and a little piano.|
Would you mind closing the window?|
The dog barked at the postman until he dropped the letters.|
I usually have porridge with honey for breakfast.|
Mind the step.|
Every night before bed she reads a chapter of a mystery novel.|
The doctor told me to drink more water and to get some rest.|
Is this seat taken?|
The choir will rehearse in the church hall on Thursday.|
We ought to visit them more often.|
There were roughly six thousand people in the square.|
Good night, sleep well.|
That joke gets better every time.|
The computer is slow because too many programs are running.|
My brother builds tiny ships in bottles.|
How long does it take to get to the airport?|
The package should arrive between nine and twelve.|
Nobody knows where the money went.|
Excuse me, does this road lead to the castle?""",
    "|",
)

# Common words beside those above, so that words near to a phrase can be found among them.
WORDS = _split(
    """able about above accept account across action actor advice afraid after again against age agree air alarm album all
allow almost alone along already also always amber among anchor angle angry animal answer any apple april arm army
around arrive artist ask asleep attic author autumn avenue average awake away awful baby back bad bag baker balance
ball banana band bank bar barber bark barn barrel base basket bath beach bead beam bean bear beat beauty become bed
beef been beer before beg begin behind believe bell belong below belt bench bend berry best better between beyond big
bike bill bird bit bite bitter black blade blame blind block blood bloom blow blue board boat body boil bold bone book
boot border born borrow both bottle bottom bought bounce bowl box boy brain branch brave bread break breath brick
bridge brief bright bring broad broom brother brown brush bubble bucket buddy build bull bunch burger burn bury bus
bush busy but butcher butter button buy cabin cable cake calendar call calm camel camera camp can candle candy cap
capital captain car carbon card care careful cargo carpet carrot carry cart case cash castle cat catch cattle cave
ceiling cellar cement centre century certain chain chair chalk chance change chapter charge chart chase cheap check
cheek cheer cheese cherry chess chest chew chicken chief child chimney chin chips choice choose church cinema circle
city clay clean clear clerk clever click cliff climb clock close cloth cloud clown club coach coal coast coat coconut
code coffee coin cold collar collect colour comb come comfort command commuter common company compare compass compete
complete composer compute concert confuse conductor consumer contact container control cook cool copper copy corner
corn correct cost cottage cotton couch cough could council count country couple courage course court cousin cover cow
cowboy crab crack craft cream credit creep crew cricket crime crisp cross crowd crown cruel cruise cry cucumber cup
curl current curtain curve cushion custom customer cut cycle daddy daily dairy damage damp dance danger dark darling
data daughter dawn day dead deaf deal dear debt decade decide deck deep deer defend degree delay deliver dentist
desert desk detail detective device dial diamond diary dice dictate diesel diet differ dig dinner dirty disc dish
distance ditch dive divide doctor dog doll dollar dolphin done donkey door double doubt dove down dozen draft drag
dragon drain drama draw dream dress drift drill drink drive drop drum dry duck due dull dump during dust duty each
eager eagle early earn earth east easy eat echo edge editor effort egg eight either elbow elder elephant eleven else
empire empty end enemy engine enjoy enough enter entry equal error escape even evening event ever every exam example
except excuse exit expect expert explain eye fabric face fact factory fade fail faint fair faith fall false fame
family famous fan far farm farmer fashion fast fat father fault favour fear feast feather fee feed feel fellow fence
ferry fever few field fifty fight figure file fill film final find fine finger finish fire firm first fish fist fit
five fix flag flame flash flat flavour flight float flock flood floor flour flow flower fluid flute fly foam fog fold
folk follow food fool foot football forest forget fork form forty forward found four fox frame free freeze fresh
friend frog front frost fruit fry fuel full fun funny future gain gallery game gap garage garden garlic gas gate
gather gear general gentle ghost giant gift girl give glad glass glory glove glue goal goat gold golf good goose
govern grab grain grand grape grass gravy great green greet grey grill grin grip grocer ground group grow guard guess
guest guide guilty gum gun guy habit hail hair half hall hammer hand handle handsome hang happen happy harbour hard
harm harvest hat hate hawk hay head health heap hear heart heat heavy heel height hello helmet help hen herb here hero
hide high hill hint hip hire history hit hobby hold hole holiday hollow holy home honest honey hood hook hope horn
horse hospital host hot hotel hour house how hug huge human humour hundred hunger hunt hurry hurt husband hut ice idea
ideal idle if image imagine inch income indeed index industry infant injury ink inner insect inside instead intend
into invite iron island issue item ivory jacket jam jar jaw jazz jealous jeans jelly jet jewel job join joke jolly
journal journey joy judge jug juice jump june jungle junior jury just keen keep kettle key kick kid kidney kind king
kiss kitchen kite kitten knee kneel knife knit knock knot know label ladder lady lake lamb lamp land lane large laser
last late laugh laundry law lawn lazy lead leaf leak lean learn least leather leave lecture left leg legal lemon lend
length lesson let letter level liar library lid lie life lift light like limit line link lion lip liquid list listen
litre little live lizard load loan local lock lonely long look loose lord lorry lose loud love low luck lumber lunch
lung luxury machine mad magic magnet maid mail main make male mango manner many maple marble march mark market marry
mask master match mate matter may mayor maze meal mean measure meat medal medium meet mellow melon melt member memory
mend menu merry message metal meter method midnight might mild mile milk mill mind mine minor minute miracle mirror
mirth miss mist mistake mix mobile model modern moment money monitor monkey month mood moon moral more morning moss
most moth mother motor mountain mouse mouth move much mud muffin mug muscle museum music must mustard mystery nail
naked name narrow nation nature naughty near nearer neat neck need needle nephew nerve nest net never new news next
nice night nine noble nod noise none noon normal north nose note nothing notice noun novel now number nurse nut oak
oats obey object ocean october odd offer office often oil old olive onion only open opera orange orbit order organ
other otter ounce outer outside oven over owe owl own owner oxygen pack paddle page pain paint pair palace pale palm
pan panda panel panic pants paper parade parcel pardon parent park parrot part partner party pass past pasta path
patient pattern pause pay peace peach peanut pear pearl pedal peel pen pencil people pepper perfect period permit
person pet petrol phone photo piano pick picture pie piece pig pigeon pile pill pillow pilot pin pine pink pint pipe
pirate pitch pizza place plain plan plane planet plant plate play please plenty plot plough plug plum plus pocket poem
poet point poison police polish polite pond pony pool poor pop popular porch pork port post pot potato pound pour
powder power practice praise pray prefer present press pretty price pride priest prince print prison prize problem
produce profit promise proof proper proud prove public pudding pull pulse pump punch pupil puppy pure purple purse
push put puzzle quarter queen question queue quick quiet quilt quit quite quiz rabbit race radar radio rail rain raise
random range rapid rare rate rather raven raw ray reach react read ready real rear reason rebel receive recipe record
recruiter red reduce refer refuse region regret regular relax release remain remind remote remove rent repair repeat
reply report rescue rest result return review reward rhyme rhythm ribbon rice rich ride right ring rinse ripe rise
risk river road roast rob robe robot rock rocket roll roof room root rope rose rotten rough round router row royal rub
rubber rude rug ruin rule ruler rumour run rush rust sad saddle safe sail salad salary sale salmon salt same sample
sand sauce sausage save say scale scar scare scarf scene school science scissors scoop scooter score scout scream
screen screw sea seal search season seat second secret see seed seem select sell senior sense serve settle seven
several sew shade shadow shake shallow shame shape share shark sharp shave shed sheep sheet shelf shell shelter shield
shine ship shirt shock shoe shoot shop short shot should shoulder shout show shower shrimp shrink shut shutter shy
sick side sigh sight sign signal silence silent silk silly silver similar simple since sing single sink sir sister sit
six size skate skill skin skirt sky slam sleep sleeve slice slide slight slim slip slope slow small smart smarter
smell smile smoke smooth snack snail snake snap snow snowball snowman soap social sock soda sofa soft soil soldier
solid some son song soon sorry sort soul sound soup sour south space spade spare spark speak spear special speech
speed spell spend spice spider spike spill spin spirit spit splash split spoil sponge spoon sport spot spray spread
spring square squeeze stable stadium staff stage stain stair stale stamp stand star stare start state station statue
stay steady steak steal steam steel steep steer step stick stiff still sting stir stitch stock stomach stone stool
store storm story stove straight strange straw stream street strength stretch strict strike string strip strong
student studio study stuff stumble style subject succeed such sudden suffer sugar suggest suit summer sun sunny supper
supply support suppose sure surface surprise swallow swan swear sweat sweep sweet swift swim swing switch sword symbol
syrup system table tackle tail tailor take tale talent talk tall tame tank tap tape target taste tax taxi tea teach
team tear tease tell temper temple ten tennis tent term terror test text thank that theatre them theme then theory
there thick thief thin thing think third thirty thorn thought thread three threat throat through throw thumb thunder
ticket tide tidy tie tiger tight tile till timber time timer tin tiny tip tire title toast toe together toilet tomato
tomorrow tone tongue tonight too tool tooth top topic torch toss total touch tough tour towel tower town toy track
trade traffic trail train trap travel tray treasure treat tree tremble trial triangle trick trip tropic trouble
trousers truck true trumpet trunk trust truth try tub tube tulip tune tunnel turkey turn turtle tutor twelve twenty
twice twin twist two type ugly umbrella uncle under unit until upper upset urban urge use usual vacant valley value
van vanish vase veil velvet verb verse very victim video view village vinegar violet violin virtue visit visitor vital
vivid voice volcano vote vowel voyage wage wagon waist wait wake walk wall wallet walnut wander want war warm warn
wash wasp waste watch water wave wax way weak wealth weapon wear weather web wedding weed week weigh weird welcome
well west wet whale wheat wheel when where whether while whisper whistle white who whole why wide wife wild will
willow win wind window wine wing winner winter wipe wire wise wish witch wolf woman wonder wood wool word work world
worm worry worse worth would wound wrap wreck wrist write wrong yacht yard yarn year yeast yell yellow yes yet yield
yoga yoke young youth zebra zero zinc zipper zone"""
)
